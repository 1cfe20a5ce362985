"""Changes on their way to the store: `staging` holds their bytes, the `journal` their order, the `worker` applies them, `recovery` takes up
what an earlier daemon had promised.
"""
