"""Hosts the browsers of one machine and lets clients attach to them."""
