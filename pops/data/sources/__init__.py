"""Sources: where training takes its batches from.

Modules:
    batches  batches, and what every source gives
    online   pictures that are encoded as training goes on
    mixing   the examples of several operators
    open     choosing between caches and pictures
"""
