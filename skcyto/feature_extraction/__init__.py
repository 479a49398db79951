"""Features from images and scans."""
