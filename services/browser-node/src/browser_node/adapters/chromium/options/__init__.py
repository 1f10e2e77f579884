"""What a session asks of its pages, held over every one of them, and receipts for it."""
