package job

// What upstream's integration tests for Jobs need to run against the jobwright binary: it is started in place of the
// built-in controller, with the settings a test has made, and its metrics are read from its port. The tests themselves
// are copied here by tests/conformance/run from the Kubernetes module, and are not kept.

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/informers"
	restclient "k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	basemetrics "k8s.io/component-base/metrics"
	"k8s.io/klog/v2/ktesting"
	jobcontroller "k8s.io/kubernetes/pkg/controller/job"
)

// metricsAddress is where the controller that was started last serves its metrics.
var metricsAddress string

func startJobControllerAndWaitForCaches(tb testing.TB, restConfig *restclient.Config, _ ...informers.SharedInformerOption) (context.Context, context.CancelFunc) {
	tb.Helper()
	dir := tb.TempDir()
	logPath := filepath.Join(dir, "jobwright.log")
	log, err := os.Create(logPath)
	if err != nil {
		tb.Fatal(err)
	}
	metricsAddress = freeAddress(tb)
	cmd := exec.Command(os.Getenv("JOBWRIGHT_BINARY"), "run", "--claim=all", "--leader-elect=false",
		"--kubeconfig="+writeKubeconfig(tb, dir, restConfig),
		"--listen="+metricsAddress,
		fmt.Sprintf("--pod-failure-backoff=%dms", jobcontroller.DefaultJobPodFailureBackOff.Milliseconds()),
		fmt.Sprintf("--pod-failure-backoff-max=%dms", jobcontroller.MaxJobPodFailureBackOff.Milliseconds()),
		fmt.Sprintf("--max-uncounted-pods=%d", jobcontroller.MaxUncountedPods),
		fmt.Sprintf("--max-pods-per-sync=%d", jobcontroller.MaxPodCreateDeletePerSync))
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	_, ctx := ktesting.NewTestContext(tb)
	ctx, cancel := context.WithCancel(ctx)
	stop := func() {
		cancel()
		_ = cmd.Process.Kill()
		<-ended
	}
	tb.Cleanup(func() {
		stop()
		if tb.Failed() {
			text, _ := os.ReadFile(logPath)
			tb.Logf("the controller's log:\n%s", text)
		}
	})
	for start := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		text, _ := os.ReadFile(logPath)
		if strings.Contains(string(text), "controller ready") {
			return ctx, stop
		}
		if time.Since(start) > 20*time.Second {
			tb.Fatalf("the controller is not ready:\n%s", text)
		}
	}
}

// inPlace stands where a test makes the built-in controller itself and runs it later: the binary runs already.
type inPlace struct{}

func (inPlace) Run(context.Context, int) {}

func startInPlace(tb testing.TB, restConfig *restclient.Config, _ informers.SharedInformerFactory) (inPlace, context.Context, context.CancelFunc) {
	tb.Helper()
	ctx, cancel := startJobControllerAndWaitForCaches(tb, restConfig)
	return inPlace{}, ctx, cancel
}

func freeAddress(tb testing.TB) string {
	tb.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

func writeKubeconfig(tb testing.TB, dir string, restConfig *restclient.Config) string {
	tb.Helper()
	config := clientcmdapi.NewConfig()
	// The test server's certificate is its own authority, which rustls does not take.
	config.Clusters["test"] = &clientcmdapi.Cluster{Server: restConfig.Host, InsecureSkipTLSVerify: true}
	config.AuthInfos["test"] = &clientcmdapi.AuthInfo{Token: restConfig.BearerToken}
	config.Contexts["test"] = &clientcmdapi.Context{Cluster: "test", AuthInfo: "test"}
	config.CurrentContext = "test"
	path := filepath.Join(dir, "kubeconfig")
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		tb.Fatal(err)
	}
	return path
}

// validateCounterMetric waits until a counter of the running controller has the value; one it does not show is 0.
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
		answer, err := http.Get("http://" + metricsAddress + "/metrics")
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
