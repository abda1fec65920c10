package podcertificate

import (
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestDecide(t *testing.T) {
	begin := time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
	at := metav1.NewTime(begin)
	tests := map[string]struct {
		deleted *metav1.Time
		age     time.Duration
		want    string
	}{
		"young":         {nil, time.Minute, "again in 14m0s"},
		"old":           {nil, 15 * time.Minute, "delete PodCertificateRequest r: it is older than 15m0s"},
		"going already": {&at, time.Hour, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := &certificatesv1.PodCertificateRequest{ObjectMeta: metav1.ObjectMeta{Name: "r", CreationTimestamp: at, DeletionTimestamp: tt.deleted}}
			got := ""
			for _, a := range Decide(View{r, begin.Add(tt.age)}) {
				got += a.String()
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
