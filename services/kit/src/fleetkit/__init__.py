"""What the services share. It knows no session, node or artifact."""
