"""The live view of a browser: who watches, who has control, and what people type."""
