"""A grading cluster on SLURM: each job is a node's share, with a worker process for each core.

python slurm.py            # on a login node, in an environment with coursekit[cluster]
coursekit grade 02 --scheduler tcp://...      # beside it; the address is printed
"""

from dask_jobqueue import SLURMCluster


def grading_cluster(**more):
    """A cluster whose jobs grade four submissions at a time each."""
    settings = {
        "cores": 4,
        "processes": 4,
        "memory": "32GB",  # a notebook may use 6 GiB, its worker about one
        "walltime": "02:00:00",
        "job_script_prologue": ["source $HOME/coursekit/bin/activate"],
    }
    return SLURMCluster(**(settings | more))


if __name__ == "__main__":
    cluster = grading_cluster()
    cluster.adapt(minimum_jobs=1, maximum_jobs=8)
    print(cluster.scheduler_address)
    input("Press Enter when the class is graded.")
