"""Many small networks of one shape, trained as one by :func:`torch.func.vmap`."""
