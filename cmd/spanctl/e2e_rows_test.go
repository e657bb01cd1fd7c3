package main

// What is in the database, to the byte, before and after spanctl.
