"""Task adapters: one file is all that differs between tasks."""
