"""The measured experiments behind the chapters: small nets trained on CIFAR-10.

``python -m alexnet.experiments NAME`` records one of them in ``book/runs/NAME.json``.
"""
