"""The embedded manager: a Backend.AI server on this computer, whose sessions are child processes."""
