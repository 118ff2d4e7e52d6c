"""Training: adapt an embedder to a domain, or train a network from scratch.

Importing this room costs no Keras: what needs it is imported when training runs.
"""
