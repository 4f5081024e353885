"""The command line: prints and keeps the runners' events."""
