"""A trained model behind HTTP and WebSocket: bounded at every door, batched across requests.

`omnifuse.cli.serve` starts it; `service.Service` is the part without a network, and `answerer.Answerer` is all that it
asks of a model.
"""
