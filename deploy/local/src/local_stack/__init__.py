"""The whole fleet on one machine: real servers, the four services and their nodes, supervised, on loopback."""
