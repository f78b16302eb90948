"""The real command line with doubles for trials: `python tests/null_sweep.py sweep run SPEC.toml --output DIR`."""

from null_trial import KNOWN, begin

if __name__ == "__main__":  # not in the processes that it starts
    from prune_heads.cli import app, sweep

    sweep.known = lambda: KNOWN
    sweep.BeginTrials = lambda *place: begin
    app.main()
