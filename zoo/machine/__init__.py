"""What the machine offers: device and precision, mathematics threads, the heap."""
