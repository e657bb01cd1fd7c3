package main

// What is killed in the middle of its work leaves nothing half done: ovs-vswitchd, and spanctl itself.
