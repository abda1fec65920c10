package role_test

import (
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// row is an object of testdata/same/rows.yaml: where it is made, the status that it gets, or the conditions, one by one, of a signing request.
type row struct {
	Path           string
	Object, Status map[string]any
	Conditions     []string
}

// TestSameRows shows objects in many states as kubectl get does, and holds each cell against what was recorded from an upstream server.
// See TestSame for asking and recording another.
func TestSameRows(t *testing.T) {
	server := sameServer(t)
	data, err := os.ReadFile("testdata/same/rows.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var rows []row
	if err := yaml.Unmarshal(data, &rows); err != nil {
		t.Fatal(err)
	}
	server.do(t, "POST", "/api/v1/namespaces", text("v1", "Namespace", "tables"))
	server.do(t, "POST", "/api/v1/namespaces/tables/serviceaccounts", text("v1", "ServiceAccount", "default"))
	gone := func() {
		for _, r := range rows {
			tidy(t, server, r.Path+"/"+r.Object["metadata"].(map[string]any)["name"].(string))
		}
	}
	gone()
	defer gone()
	got := map[string]string{}
	for _, r := range rows {
		meta := r.Object["metadata"].(map[string]any)
		name := meta["name"].(string)
		one := r.Path + "/" + name
		into[map[string]any](t, server.do(t, "POST", r.Path, encode(t, r.Object)), http.StatusCreated)
		write := func(sub string, change func(o map[string]any)) {
			for try := 0; ; try++ {
				o := into[map[string]any](t, server.do(t, "GET", one, ""), http.StatusOK)
				change(o)
				a := server.do(t, "PUT", one+sub, encode(t, o))
				if a.code == http.StatusConflict && try < 5 { // a part of the server wrote it meanwhile
					continue
				}
				into[map[string]any](t, a, http.StatusOK)
				return
			}
		}
		if r.Status != nil {
			write("/status", func(o map[string]any) { o["status"] = r.Status })
		}
		for _, c := range r.Conditions {
			sub := "/status"
			if c == "Approved" || c == "Denied" {
				sub = "/approval"
			}
			write(sub, func(o map[string]any) {
				status, _ := o["status"].(map[string]any)
				if status == nil {
					status = map[string]any{}
					o["status"] = status
				}
				list, _ := status["conditions"].([]any)
				status["conditions"] = append(list, map[string]any{"type": c, "status": "True", "reason": "r"})
			})
		}
		if meta["finalizers"] != nil { // it ends, and is still there
			server.do(t, "DELETE", one+"?propagationPolicy=Background", "")
		}
		table := into[struct {
			Rows []struct {
				Cells      []any
				Conditions []any
			}
		}](t, server.do(t, "GET", one, "", "Accept: application/json;as=Table;v=v1;g=meta.k8s.io"), http.StatusOK)
		if len(table.Rows) != 1 {
			t.Fatalf("%s has %d rows", one, len(table.Rows))
		}
		var cells []string
		for _, c := range table.Rows[0].Cells {
			cells = append(cells, settledCell(fmt.Sprintf("%q", fmt.Sprint(c))))
		}
		line := strings.Join(cells, " ")
		if c := table.Rows[0].Conditions; len(c) > 0 {
			line += " " + encode(t, c)
		}
		got[strings.TrimPrefix(strings.ReplaceAll(one, "namespaces/tables/", ""), "/")] = line
	}
	holdLines(t, "testdata/same/rows.txt", got)
}

// settledCell is a cell without what differs at each try: ages, times, UIDs and addresses that were chosen.
func settledCell(cell string) string {
	for _, r := range []struct {
		of *regexp.Regexp
		as string
	}{{cellAge, `"<age>"`}, {cellAgo, "(<age> ago)"}, {cellTime, "<time>"}, {cellUID, "<uid>"}, {cellAddress, `"<address>"`}} {
		cell = r.of.ReplaceAllString(cell, r.as)
	}
	return cell
}

var (
	cellAge     = regexp.MustCompile(`^"(<invalid>|\d+[smhdy](\d+[smhd])?)"$`)
	cellAgo     = regexp.MustCompile(`\(\w+ ago\)`)
	cellTime    = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`)
	cellUID     = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	cellAddress = regexp.MustCompile(`^"10\.(9[6-9]|10\d|11[01])\.\d+\.\d+"$`)
)
