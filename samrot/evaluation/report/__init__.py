"""``report.html``: a run as one page, made from its JSON and records alone."""
