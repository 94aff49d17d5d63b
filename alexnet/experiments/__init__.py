"""The measured experiments behind the chapters: small nets, trained on CIFAR-10 and recorded in ``book/runs/``."""


