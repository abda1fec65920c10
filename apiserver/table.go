package apiserver

import (
	"encoding/json"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/lighter-k8s/lighter/api"
)

// table shows objects as kubectl get prints them. include is the request's includeObject:
// None, Metadata (the default) or Object. Source: API concepts, Receiving resources as Tables.
func table(i *api.Info, l source, include string) (*metav1.Table, error) {
	objs, err := l.all(i)
	if err != nil {
		return nil, err
	}
	switch include {
	case "", "None", "Metadata", "Object":
	default:
		return nil, apierrors.NewBadRequest(fmt.Sprintf("unrecognized includeObject value: %q", include))
	}
	columns := i.Table()
	t := &metav1.Table{TypeMeta: metav1.TypeMeta{Kind: tableKind.Kind, APIVersion: tableKind.GroupVersion().String()}, ListMeta: l.meta(),
		Rows: make([]metav1.TableRow, 0, len(objs))}
	if l.single {
		t.ResourceVersion = objs[0].GetResourceVersion()
	}
	for _, c := range columns {
		d := metav1.TableColumnDefinition{Name: c.Name, Type: c.Type, Format: c.Format, Description: c.Help}
		if c.Wide {
			d.Priority = 1
		}
		t.ColumnDefinitions = append(t.ColumnDefinitions, d)
	}
	for _, o := range objs {
		row := metav1.TableRow{Cells: make([]any, len(columns))}
		for n, c := range columns {
			row.Cells[n] = c.Show(o)
		}
		var inner any
		switch include {
		case "", "Metadata":
			inner = partial(o)
		case "Object":
			data, err := api.EncodeJSON(i, o)
			if err != nil {
				return nil, apierrors.NewInternalError(err)
			}
			row.Object = runtime.RawExtension{Raw: data}
		}
		if inner != nil {
			data, err := json.Marshal(inner)
			if err != nil {
				return nil, apierrors.NewInternalError(err)
			}
			row.Object = runtime.RawExtension{Raw: data}
		}
		t.Rows = append(t.Rows, row)
	}
	return t, nil
}
