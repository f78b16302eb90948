"""Jobs: what a command does from its options to its folder. One function a command."""
