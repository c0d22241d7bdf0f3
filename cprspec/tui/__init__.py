"""The monitor: runs in a terminal, live. It reads run directories and writes nothing; quitting never touches a run."""
