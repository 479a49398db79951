"""Which device runs, how much of it is taken, and smaller batches when it is too little."""
