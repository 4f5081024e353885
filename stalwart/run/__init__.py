"""Runners: each yields events while it works; whoever wants to print, plot or stream listens."""
