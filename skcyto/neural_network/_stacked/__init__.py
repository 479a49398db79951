"""Many small networks of one shape, trained as one by :func:`torch.func.vmap`.

The networks, losses, callbacks and checks are those of a single fit; what is here calls them for
many at once. May import the rest of the package but the transformer.
"""
