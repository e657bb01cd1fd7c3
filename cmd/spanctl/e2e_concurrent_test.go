package main

// Who writes at the same time, spanctl or somebody else, loses nothing.
