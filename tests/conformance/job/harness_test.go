package job

// What upstream's integration tests of Jobs need to run against the jobwright binary: it is started in place of the
// built-in controller, with the settings that a test has made, and its metrics are read from its port.

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"jobwright.dev/conformance/harness"
	feature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/client-go/informers"
	restclient "k8s.io/client-go/rest"
	basemetrics "k8s.io/component-base/metrics"
	jobcontroller "k8s.io/kubernetes/pkg/controller/job"
	"k8s.io/kubernetes/pkg/features"
)

func startJobControllerAndWaitForCaches(tb testing.TB, restConfig *restclient.Config, _ ...informers.SharedInformerOption) (context.Context, context.CancelFunc) {
	tb.Helper()
	if tb.Name() == "TestMutablePodResourcesForSuspendedJobsNotYetStarted" {
		restConfig = delayWritesOfJobs(restConfig)
	}
	gates := fmt.Sprintf("WorkloadWithJob=%t,JobManagedBy=%t",
		feature.DefaultFeatureGate.Enabled(features.WorkloadWithJob), feature.DefaultFeatureGate.Enabled(features.JobManagedBy))
	return harness.Start(tb, restConfig, "--feature-gates="+gates,
		fmt.Sprintf("--pod-failure-backoff=%dms", jobcontroller.DefaultJobPodFailureBackOff.Milliseconds()),
		fmt.Sprintf("--pod-failure-backoff-max=%dms", jobcontroller.MaxJobPodFailureBackOff.Milliseconds()),
		fmt.Sprintf("--max-uncounted-pods=%d", jobcontroller.MaxUncountedPods),
		fmt.Sprintf("--max-pods-per-sync=%d", jobcontroller.MaxPodCreateDeletePerSync))
}

// delayWritesOfJobs returns a configuration with which writes of Jobs wait for a moment. A test that updates a Job right
// after its creation, with the resource version of the creation, needs that: jobwright writes the first condition within
// a few milliseconds, and the update is then in conflict.
func delayWritesOfJobs(restConfig *restclient.Config) *restclient.Config {
	restConfig = restclient.CopyConfig(restConfig)
	restConfig.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return delayed{next}
	})
	return restConfig
}

type delayed struct{ next http.RoundTripper }

func (d delayed) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.Method != http.MethodGet && strings.Contains(request.URL.Path, "/jobs/") {
		time.Sleep(300 * time.Millisecond)
	}
	return d.next.RoundTrip(request)
}

func createJobControllerWithSharedInformers(tb testing.TB, restConfig *restclient.Config, informerSet informers.SharedInformerFactory) (harness.InPlace, context.Context, context.CancelFunc) {
	tb.Helper()
	// The informers that the built-in controller would ask for: a test reads them.
	informerSet.Batch().V1().Jobs().Informer()
	informerSet.Core().V1().Pods().Informer()
	ctx, cancel := startJobControllerAndWaitForCaches(tb, restConfig)
	return harness.InPlace{}, ctx, cancel
}

// validateCounterMetric waits until a counter of the running controller has the value. A counter that is not shown is 0.
func validateCounterMetric(_ context.Context, t *testing.T, counter *basemetrics.CounterVec, want metricLabelsWithValue) {
	t.Helper()
	values := make([]string, 0, len(want.Labels))
	for _, label := range want.Labels {
		values = append(values, `\w+="`+regexp.QuoteMeta(label)+`"`)
	}
	series := regexp.MustCompile(`(?m)^job_controller_` + counter.Name + `\{` + strings.Join(values, ",") + `\} (\d+)$`)
	got := -1
	for start := time.Now(); time.Since(start) < 10*time.Second; time.Sleep(10 * time.Millisecond) {
		got = 0
		answer, err := http.Get("http://" + harness.MetricsAddress + "/metrics")
		if err != nil {
			continue
		}
		text, _ := io.ReadAll(answer.Body)
		answer.Body.Close()
		if match := series.FindSubmatch(text); match != nil {
			got, _ = strconv.Atoi(string(match[1]))
		}
		if got == want.Value {
			return
		}
	}
	t.Errorf("metric %s with %q: want %d, got %d", counter.Name, want.Labels, want.Value, got)
}
