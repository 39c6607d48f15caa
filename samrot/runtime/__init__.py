"""Floor 2: devices, processes, batches, run folders."""
