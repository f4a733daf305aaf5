"""The OpenAI- and Anthropic-compatible doors: they decide a request and forward it to a provider.

What a request asks for, its decision, and how its reply is settled is the business of ``api.llm``,
as for requests through Envoy. These modules know the providers' addresses and keys.
"""
