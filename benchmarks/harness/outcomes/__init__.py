"""Judgements of choices by outcomes that are known whole: by hindsight, and by logs of them."""
