package role_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestSameRoles holds the default roles and bindings against what was recorded from an upstream server that had just made
// them: a line for each, and for each rule in its place. See TestSame for asking and recording another server.
func TestSameRoles(t *testing.T) {
	server := sameServer(t)
	got := map[string]string{}
	for _, kind := range []string{"clusterroles", "roles", "clusterrolebindings", "rolebindings"} {
		list := into[struct {
			Items []struct {
				metav1.ObjectMeta `json:"metadata"`
				AggregationRule   *rbacv1.AggregationRule
				Rules             []rbacv1.PolicyRule
				Subjects          []rbacv1.Subject
				RoleRef           *rbacv1.RoleRef
			}
		}](t, server.do(t, "GET", "/apis/rbac.authorization.k8s.io/v1/"+kind+"?labelSelector=kubernetes.io/bootstrapping=rbac-defaults", ""), http.StatusOK)
		for _, o := range list.Items {
			if strings.HasPrefix(o.Name, "lighter:") { // for our nodes and servers
				continue
			}
			name := strings.TrimPrefix(o.Namespace+"/", "/") + kind + "/" + o.Name
			got[name] = fmt.Sprint(encode(t, o.Labels), " ", encode(t, o.Annotations), " ", encode(t, o.AggregationRule), " ", encode(t, o.RoleRef), " ", encode(t, o.Subjects))
			if o.AggregationRule != nil { // a controller fills it with the rules of others, which are held
				continue
			}
			for n, r := range o.Rules {
				got[fmt.Sprintf("%s rule %02d", name, n)] = encode(t, r)
			}
		}
	}
	holdLines(t, "testdata/same/roles.txt", got)
}
