// Command report writes the table of docs/results/conformance.md from the logs of a run of upstream's test suites.
//
//	report -skipped skipped.txt job.log cronjob.log e2e-Job.json ...
//
// A file that ends in .log is the output of a Go test program with -test.v, and its name is the suite. A file that ends
// in .json is a report of ginkgo.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"time"
)

// result is the outcome of one test.
type result struct {
	suite, name, state, reason string
	// cases counts the subtests of a test, and passed those that passed.
	cases, passed int
}

// skip is a line of skipped.txt: the tests of a suite whose name matches are left out for this reason.
type skip struct {
	suite  string
	name   *regexp.Regexp
	reason string
}

func main() {
	skipped := flag.String("skipped", "skipped.txt", "`FILE` with the tests that are left out")
	flag.Parse()
	if err := report(*skipped, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(1)
	}
}

func report(skipped string, files []string) error {
	skips, err := readSkips(skipped)
	if err != nil {
		return err
	}
	var results []result
	for _, file := range files {
		read := readLog
		if filepath.Ext(file) == ".json" {
			read = readSpecs
		}
		more, err := read(file)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		results = append(results, more...)
	}
	results = append(once(results), leftOut(results, skips)...)
	print(results)
	return nil
}

// once returns each test once. A spec that two runs of the program list was left out by one of them.
func once(results []result) []result {
	at := map[string]int{}
	var kept []result
	for _, one := range results {
		key := one.suite + " " + one.name
		if place, known := at[key]; !known {
			at[key] = len(kept)
			kept = append(kept, one)
		} else if kept[place].state == "skipped" {
			kept[place] = one
		}
	}
	return kept
}

func readSkips(path string) ([]skip, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var skips []skip
	for number, line := range strings.Split(strings.TrimRight(string(text), "\n"), "\n") {
		if line == "" {
			continue
		}
		fields := strings.Split(line, "\t")
		if len(fields) != 3 {
			return nil, fmt.Errorf("%s:%d: %d fields, want suite, test and reason with tabs between them", path, number+1, len(fields))
		}
		name, err := regexp.Compile(fields[1])
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, number+1, err)
		}
		skips = append(skips, skip{fields[0], name, fields[2]})
	}
	return skips, nil
}

var verdict = regexp.MustCompile(`^(\s*)--- (PASS|FAIL|SKIP): (\S+)`)

// readLog reads the output of a Go test program.
func readLog(path string) ([]result, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	suite := strings.TrimSuffix(filepath.Base(path), ".log")
	tests := map[string]*result{}
	at := func(name string) *result {
		if tests[name] == nil {
			tests[name] = &result{suite: suite, name: name}
		}
		return tests[name]
	}
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		match := verdict.FindStringSubmatch(lines.Text())
		if match == nil {
			continue
		}
		name, _, isCase := strings.Cut(match[3], "/")
		switch {
		case !isCase:
			at(name).state = map[string]string{"PASS": "passed", "FAIL": "failed", "SKIP": "skipped"}[match[2]]
		default:
			at(name).cases++
			if match[2] == "PASS" {
				at(name).passed++
			}
		}
	}
	var results []result
	for _, test := range tests {
		results = append(results, *test)
	}
	return results, lines.Err()
}

// readSpecs reads a report of ginkgo, and of that the specs of Jobs, CronJobs and TTLAfterFinished.
func readSpecs(path string) ([]result, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var suites []struct {
		SpecReports []struct {
			ContainerHierarchyTexts []string
			LeafNodeType            string
			LeafNodeText            string
			State                   string
			Failure                 struct{ Message string }
		}
	}
	if err := json.Unmarshal(text, &suites); err != nil {
		return nil, err
	}
	// The name is e2e-GROUP.json or e2e-GROUP-gang.json.
	group := "[sig-apps] " + strings.Split(strings.TrimSuffix(filepath.Base(path), ".json"), "-")[1]
	var results []result
	for _, suite := range suites {
		for _, spec := range suite.SpecReports {
			containers := spec.ContainerHierarchyTexts
			if spec.LeafNodeType != "It" || len(containers) == 0 || containers[0] != group {
				continue
			}
			one := result{suite: "e2e", name: strings.Join(append(containers, spec.LeafNodeText), " "), state: spec.State}
			if spec.State == "skipped" {
				one.reason = spec.Failure.Message
			}
			results = append(results, one)
		}
	}
	return results, nil
}

// leftOut fills in the reasons of specs that were left out, and returns the integration tests that did not run because
// of a line in skipped.txt, which no log names.
func leftOut(results []result, skips []skip) []result {
	var more []result
	for _, skip := range skips {
		found := false
		for i := range results {
			if results[i].suite == skip.suite && skip.name.MatchString(results[i].name) {
				found = true
				if results[i].state == "skipped" {
					results[i].reason = skip.reason
				}
			}
		}
		if !found && skip.suite != "e2e" {
			more = append(more, result{suite: skip.suite, name: skip.name.String(), state: "skipped", reason: skip.reason})
		}
	}
	return more
}

func print(results []result) {
	sort.SliceStable(results, func(a, b int) bool {
		if results[a].suite != results[b].suite {
			return results[a].suite > results[b].suite
		}
		return results[a].name < results[b].name
	})
	fmt.Println("# Upstream's test suites")
	fmt.Println()
	fmt.Printf("Written by `make conformance` on %s, with the tests of Kubernetes %s. The suite `job` is\n", time.Now().UTC().Format("2006-01-02"), version())
	fmt.Println("`test/integration/job`, `cronjob` is `test/integration/cronjob`, and `e2e` are the end-to-end specs of")
	fmt.Println("`test/e2e/apps` on a real node. There is no integration test of TTLAfterFinished upstream:")
	fmt.Println("`test/integration/ttlcontroller` tests an annotation of nodes.")
	fmt.Println()
	fmt.Println("| Suite | Passed | Failed | Skipped |")
	fmt.Println("|-------|-------:|-------:|--------:|")
	for _, suite := range []string{"job", "cronjob", "e2e"} {
		count := map[string]int{}
		for _, one := range results {
			if one.suite == suite {
				count[one.state]++
			}
		}
		fmt.Printf("| %s | %d | %d | %d |\n", suite, count["passed"], count["failed"], count["skipped"])
	}
	fmt.Println()
	fmt.Println("| Suite | Test | Result | Cases passed | Reason |")
	fmt.Println("|-------|------|--------|-------------:|--------|")
	for _, one := range results {
		cases := ""
		if one.cases > 0 {
			cases = fmt.Sprintf("%d of %d", one.passed, one.cases)
		}
		fmt.Printf("| %s | %s | %s | %s | %s |\n", one.suite, cell(one.name), one.state, cases, cell(one.reason))
	}
}

// version returns the version of Kubernetes in go.mod.
func version() string {
	text, err := os.ReadFile("go.mod")
	match := regexp.MustCompile(`k8s\.io/kubernetes v([0-9.]+)`).FindSubmatch(text)
	if err != nil || match == nil {
		return "(unknown)"
	}
	return string(match[1])
}

// cell makes a text fit into one cell of a table.
func cell(text string) string {
	return strings.NewReplacer("|", "\\|", "\n", " ", "[", "\\[", "]", "\\]").Replace(text)
}
