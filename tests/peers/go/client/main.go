// Command client creates Jobs with client-go and waits for them, as programs of users do: with an informer, a watch until
// a condition, updates that are repeated after a conflict, and a foreground deletion. The result goes to stdout.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"slices"
	"strings"
	"sync"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	watchtools "k8s.io/client-go/tools/watch"
	"k8s.io/client-go/util/retry"
)

// seen collects the conditions of each Job in the order in which an informer reports them.
type seen struct {
	sync.Mutex
	conditions map[string][]string
}

func (s *seen) add(object any) {
	job, ok := object.(*batchv1.Job)
	if !ok {
		return
	}
	s.Lock()
	defer s.Unlock()
	for _, condition := range job.Status.Conditions {
		text := fmt.Sprintf("%s=%s", condition.Type, condition.Status)
		if !slices.Contains(s.conditions[job.Name], text) {
			s.conditions[job.Name] = append(s.conditions[job.Name], text)
		}
	}
}

func has(job *batchv1.Job, types ...batchv1.JobConditionType) bool {
	return slices.ContainsFunc(job.Status.Conditions, func(condition batchv1.JobCondition) bool {
		return condition.Status == corev1.ConditionTrue && slices.Contains(types, condition.Type)
	})
}

func main() {
	kubeconfig := flag.String("kubeconfig", "", "path of the kubeconfig")
	namespace := flag.String("namespace", "", "namespace of the Jobs")
	managedBy := flag.String("managed-by", "", "spec.managedBy of the Jobs, if not empty")
	play := flag.String("play", "", "annotation of the pod template that states what the pods do")
	flag.Parse()
	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	check(err)
	clientset := kubernetes.NewForConfigOrDie(config)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	jobs := clientset.BatchV1().Jobs(*namespace)

	observed := &seen{conditions: map[string][]string{}}
	factory := informers.NewSharedInformerFactoryWithOptions(clientset, 0, informers.WithNamespace(*namespace))
	informer := factory.Batch().V1().Jobs().Informer()
	_, err = informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    observed.add,
		UpdateFunc: func(_, object any) { observed.add(object) },
	})
	check(err)
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())

	until := func(name string, precondition watchtools.PreconditionFunc, condition watchtools.ConditionFunc) {
		selector := fields.OneTermEqualSelector("metadata.name", name).String()
		list := cache.NewListWatchFromClient(clientset.BatchV1().RESTClient(), "jobs", *namespace, fields.ParseSelectorOrDie(selector))
		_, err := watchtools.UntilWithSync(ctx, list, &batchv1.Job{}, precondition, condition)
		if err != nil {
			log.Fatalf("waiting for %s: %v", name, err)
		}
	}
	reaches := func(types ...batchv1.JobConditionType) watchtools.ConditionFunc {
		return func(event watch.Event) (bool, error) {
			job, ok := event.Object.(*batchv1.Job)
			return ok && has(job, types...), nil
		}
	}

	for _, one := range []struct {
		name, play string
		pods       int32
		suspend    bool
	}{{"bad", "fail", 1, false}, {"good", "succeed", 2, false}, {"held", "succeed", 2, true}} {
		job := newJob(one.name, one.pods, one.suspend, map[string]string{*play: one.play})
		if *managedBy != "" {
			job.Spec.ManagedBy = managedBy
		}
		_, err := jobs.Create(ctx, job, metav1.CreateOptions{})
		check(err)
	}
	until("held", nil, reaches(batchv1.JobSuspended))
	check(retry.RetryOnConflict(retry.DefaultRetry, func() error {
		job, err := jobs.Get(ctx, "held", metav1.GetOptions{})
		check(err)
		job.Spec.Suspend = new(bool)
		_, err = jobs.Update(ctx, job, metav1.UpdateOptions{})
		return err
	}))
	for _, name := range []string{"bad", "good", "held"} {
		until(name, nil, reaches(batchv1.JobComplete, batchv1.JobFailed))
		job, err := jobs.Get(ctx, name, metav1.GetOptions{})
		check(err)
		pods, err := clientset.CoreV1().Pods(*namespace).List(ctx, metav1.ListOptions{LabelSelector: batchv1.JobNameLabel + "=" + name})
		check(err)
		// The informer has its own watch, so it can lag behind.
		for !has(lister(factory, *namespace, name), batchv1.JobComplete, batchv1.JobFailed) {
			time.Sleep(20 * time.Millisecond)
		}
		observed.Lock()
		conditions := strings.Join(observed.conditions[name], " ")
		observed.Unlock()
		fmt.Printf("%s: %s; %d succeeded, %d failed, %d pods\n", name, conditions, job.Status.Succeeded, job.Status.Failed, len(pods.Items))
	}
	foreground := metav1.DeletePropagationForeground
	check(jobs.Delete(ctx, "good", metav1.DeleteOptions{PropagationPolicy: &foreground}))
	isGone := func(store cache.Store) (bool, error) { return len(store.List()) == 0, nil }
	until("good", isGone, func(event watch.Event) (bool, error) { return event.Type == watch.Deleted, nil })
	fmt.Println("good: deleted")
}

func lister(factory informers.SharedInformerFactory, namespace, name string) *batchv1.Job {
	job, err := factory.Batch().V1().Jobs().Lister().Jobs(namespace).Get(name)
	check(err)
	return job
}

func newJob(name string, pods int32, suspend bool, annotations map[string]string) *batchv1.Job {
	none := int32(0)
	return &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: batchv1.JobSpec{
			Parallelism: &pods, Completions: &pods, BackoffLimit: &none, Suspend: &suspend,
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Annotations: annotations},
				Spec: corev1.PodSpec{
					RestartPolicy: corev1.RestartPolicyNever,
					NodeName:      "nowhere",
					Containers:    []corev1.Container{{Name: "main", Image: "i"}},
				},
			},
		},
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
