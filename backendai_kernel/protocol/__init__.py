"""What goes over the wire. No input or output happens here, so no test needs a loop."""
