"""Floor 7: what the command line does, one file a command."""
