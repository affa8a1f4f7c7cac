// Package harness starts the jobwright binary in place of the built-in controllers, for upstream's integration tests.
package harness

import (
	"context"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	restclient "k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/klog/v2/ktesting"
)

// MetricsAddress is the address at which the controller that was started last serves its metrics.
var MetricsAddress string

// Start runs the binary of JOBWRIGHT_BINARY as the controllers of the API server of restConfig, and returns when it is
// ready. The returned function stops it. flags are added to those that every test needs.
func Start(tb testing.TB, restConfig *restclient.Config, flags ...string) (context.Context, context.CancelFunc) {
	tb.Helper()
	dir := tb.TempDir()
	logPath := filepath.Join(dir, "jobwright.log")
	log, err := os.Create(logPath)
	if err != nil {
		tb.Fatal(err)
	}
	MetricsAddress = freeAddress(tb)
	arguments := append([]string{"run", "--claim=all", "--leader-elect=false",
		"--kubeconfig=" + writeKubeconfig(tb, dir, proxy(tb, restConfig)),
		"--listen=" + MetricsAddress}, flags...)
	cmd := exec.Command(os.Getenv("JOBWRIGHT_BINARY"), arguments...)
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
			tb.Logf("log of the controller:\n%s", text)
		}
	})
	for start := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		text, _ := os.ReadFile(logPath)
		if strings.Contains(string(text), "controller ready") {
			return ctx, stop
		}
		select {
		case <-ended:
			tb.Fatalf("the controller has ended:\n%s", text)
		default:
		}
		if time.Since(start) > 20*time.Second {
			tb.Fatalf("the controller is not ready after 20 s:\n%s", text)
		}
	}
}

// InPlace stands where a test makes a built-in controller itself and runs it later: the binary is already running.
type InPlace struct{}

// Run does nothing.
func (InPlace) Run(context.Context, int) {}

// proxy serves the API server on loopback without TLS, as `kubectl proxy` does, and returns its URL. The certificate of
// a test server is its own authority, which the binary does not trust, and jobwright refuses to skip the verification.
// Requests go through the transport of restConfig, so that a test which wraps the transport acts on the binary too.
func proxy(tb testing.TB, restConfig *restclient.Config) string {
	tb.Helper()
	target, err := url.Parse(restConfig.Host)
	if err != nil {
		tb.Fatal(err)
	}
	if target.Scheme == "" {
		target = &url.URL{Scheme: "https", Host: restConfig.Host}
	}
	transport, err := restclient.TransportFor(restConfig)
	if err != nil {
		tb.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	server := &http.Server{Handler: &httputil.ReverseProxy{
		Rewrite:       func(request *httputil.ProxyRequest) { request.SetURL(target) },
		Transport:     transport,
		FlushInterval: -1,
		// A test that stops the controller cuts its requests, which is no fault.
		ErrorHandler: func(answer http.ResponseWriter, _ *http.Request, _ error) { answer.WriteHeader(http.StatusBadGateway) },
	}}
	go func() { _ = server.Serve(listener) }()
	// Close does not wait for requests, which a failed test can leave waiting.
	tb.Cleanup(func() { _ = server.Close() })
	return "http://" + listener.Addr().String()
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

func writeKubeconfig(tb testing.TB, dir, server string) string {
	tb.Helper()
	config := clientcmdapi.NewConfig()
	config.Clusters["test"] = &clientcmdapi.Cluster{Server: server}
	config.AuthInfos["test"] = &clientcmdapi.AuthInfo{}
	config.Contexts["test"] = &clientcmdapi.Context{Cluster: "test", AuthInfo: "test"}
	config.CurrentContext = "test"
	path := filepath.Join(dir, "kubeconfig")
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		tb.Fatal(err)
	}
	return path
}
