"""Servers on the nodes of a Ray cluster: ``--engine ray:vllm`` and ``--engine ray:sglang``.

One Ray Core actor per server reserves the GPUs of one replica (a tensor-parallel group never spans nodes), starts
the server on its node's address with a key of the run, and is started again elsewhere when its node dies. The
requests go from the command straight to the servers, not through Ray. Nothing is imported from Ray before a
command asks for it.

The command runs on a node of the cluster; extrap-eval must be installed on all of them, the engine too (in the
environment that Ray runs in, or in that of ``--engine-python``), and weights are a hub id or a folder that all
nodes see. Without ``--replicas`` every GPU that is free at the start gets its share; with it, replicas that find
no room yet wait for it and join.

On Slurm, 4 nodes with 8 GPUs each::

    #SBATCH --nodes=4 --ntasks-per-node=1 --gpus-per-node=8 --cpus-per-task=64
    head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
    srun ray symmetric-run --address "$head:6379" --min-nodes 4 --num-gpus 8 -- \\
        extrap-eval sample --model e3-1.7B --benchmark aime_2025 --engine ray:vllm --replicas 32

or, node by node (``ray start`` begins a cluster or joins one)::

    srun -N 1 -n 1 -w "$head" ray start --head --port 6379 --num-gpus 8 --block &
    srun -N 3 -n 3 -x "$head" ray start --address "$head:6379" --num-gpus 8 --block &
    extrap-eval sample ... --engine ray:vllm --replicas 32 --ray-address "$head:6379"

On Kubernetes with KubeRay, in the head pod of a RayCluster whose image holds extrap-eval and the engine, with a
volume for the runs (or as the ``entrypoint`` of a RayJob)::

    kubectl exec -it "$(kubectl get pod -o name -l ray.io/cluster=NAME,ray.io/node-type=head)" -- \\
        extrap-eval sample ... --engine ray:vllm --replicas 32 --out /runs/e3-1.7B__aime_2025

``--replicas 32`` is more than what is there where the cluster scales by itself: the reservations make it grow.

A model that needs more GPUs than a node has is served by vLLM's or SGLang's own multi-node launcher, which runs on
every node with its number as ``RANK``. Name the server of the first node with ``--endpoint http://$head:8000``::

    vllm serve MODEL --port 8000 --max-model-len 40960 --enable-prompt-tokens-details --tensor-parallel-size 16 \\
        --nnodes 2 --node-rank RANK --master-addr $head    # on all but the first node also --headless
    python -m sglang.launch_server --model-path MODEL --host 0.0.0.0 --port 8000 --context-length 40960 \\
        --enable-cache-report --enable-metrics --tp-size 16 --nnodes 2 --node-rank RANK --dist-init-addr $head:5000

``places`` counts what fits (pure), ``connect`` is the way onto the cluster, ``server_actor`` what runs on a node,
``replica`` its counterpart in the command, ``fleet`` all of them as an engine.
"""
