package cronjob

// What upstream's integration test of CronJobs needs to run against the jobwright binary, which stands for both the Job
// and the CronJob controller.

import (
	"context"
	"testing"

	"jobwright.dev/conformance/harness"
	"k8s.io/client-go/informers"
	clientset "k8s.io/client-go/kubernetes"
	restclient "k8s.io/client-go/rest"
	kubeapiservertesting "k8s.io/kubernetes/cmd/kube-apiserver/app/testing"
	"k8s.io/kubernetes/test/integration/framework"
)

func setup(_ context.Context, t *testing.T) (kubeapiservertesting.TearDownFunc, harness.InPlace, harness.InPlace, informers.SharedInformerFactory, clientset.Interface) {
	// Without the admission of service accounts, whose controller does not run.
	server := kubeapiservertesting.StartTestServerOrDie(t, nil, framework.DefaultTestServerFlags(), framework.SharedEtcd())
	config := restclient.CopyConfig(server.ClientConfig)
	client := clientset.NewForConfigOrDie(config)
	harness.Start(t, config)
	return server.TearDownFn, harness.InPlace{}, harness.InPlace{}, informers.NewSharedInformerFactory(client, 0), client
}
