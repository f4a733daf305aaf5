"""Arms of models: a model together with how it is asked, such as at a reasoning effort.

An arm is a column wherever a model is one: of the estimates, of the linear program, of the decision
log, of learned corrections. A pool file lists arms per model (``spec``); a model without any is one
arm without a name, for which nothing here runs. The figures of an arm are data: scores and lengths
come from the predictor's row ``model@arm`` where it has one, else from the nearest row of the same
model and an offset (``columns``, ``efforts``); prices, times and the longest answer come from the
pool file. The predictor runs once a prompt, whatever the number of arms: their columns are
gathered from its answer.

The fields that an API needs for an arm are templates (``parameters``). A field that the caller has
set himself is never written over; his effort and service tier narrow each model to the arms that
come nearest instead, and his longest answer to those that do not cut it short (``own``).

Sessions, fallbacks, health and measured latencies are properties of columns, too: they add to the
costs and the mask of the same matrix, and find a column's model by ``ArmColumns.model_of``.
"""
