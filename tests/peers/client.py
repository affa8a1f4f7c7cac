"""Creates Jobs with the Python package kubernetes and waits for them, as programs of users do.

Arguments: kubeconfig, namespace, spec.managedBy or an empty text, annotation that states what pods do. The result goes
to stdout.
"""

import sys

from kubernetes import client, config, watch


def new_job(name, pods, suspend, managed_by, annotations):
    """Returns a Job."""
    template = client.V1PodTemplateSpec(
        metadata=client.V1ObjectMeta(annotations=annotations),
        spec=client.V1PodSpec(
            restart_policy="Never",
            node_name="nowhere",
            containers=[client.V1Container(name="main", image="i")],
        ),
    )
    spec = client.V1JobSpec(
        parallelism=pods,
        completions=pods,
        backoff_limit=0,
        suspend=suspend,
        managed_by=managed_by or None,
        template=template,
    )
    return client.V1Job(metadata=client.V1ObjectMeta(name=name), spec=spec)


def wait(jobs, namespace, name, types):
    """Watches a Job until one of these conditions is true, and returns the Job."""
    stream = watch.Watch().stream(
        jobs.list_namespaced_job,
        namespace,
        field_selector=f"metadata.name={name}",
        timeout_seconds=120,
    )
    for event in stream:
        for condition in event["object"].status.conditions or []:
            if condition.type in types and condition.status == "True":
                return event["object"]
    raise TimeoutError(f"{name} has none of {types}")


def main(kubeconfig, namespace, managed_by, play):
    """Runs the Jobs."""
    config.load_kube_config(kubeconfig)
    jobs, core = client.BatchV1Api(), client.CoreV1Api()
    plans = [("bad", 1, False, "fail"), ("good", 2, False, "succeed"), ("held", 2, True, "succeed")]
    for name, pods, suspend, plan in plans:
        jobs.create_namespaced_job(namespace, new_job(name, pods, suspend, managed_by, {play: plan}))
    wait(jobs, namespace, "held", ["Suspended"])
    jobs.patch_namespaced_job("held", namespace, {"spec": {"suspend": False}})
    for name in ["bad", "good", "held"]:
        job = wait(jobs, namespace, name, ["Complete", "Failed"])
        pods = core.list_namespaced_pod(namespace, label_selector=f"job-name={name}")
        conditions = " ".join(f"{one.type}={one.status}" for one in job.status.conditions)
        counts = f"{job.status.succeeded or 0} succeeded, {job.status.failed or 0} failed"
        print(f"{name}: {conditions}; {counts}, {len(pods.items)} pods")


if __name__ == "__main__":
    main(*sys.argv[1:])
