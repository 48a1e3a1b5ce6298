"""From a proposal to a finished trial: a student is built, trained, exported, judged and measured."""
