"""Many small networks trained as one, bit for bit as if each were alone."""
