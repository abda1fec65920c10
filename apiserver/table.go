package apiserver

import (
	"encoding/json"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/watch"
)

// table shows typed objects as kubectl get prints them. Source: API concepts, Receiving resources as Tables.
func table(f form, i *api.Info, l source) (*metav1.Table, error) {
	columns := i.Table()
	t := &metav1.Table{TypeMeta: metav1.TypeMeta{Kind: "Table", APIVersion: f.version()}, ListMeta: l.meta(),
		Rows: make([]metav1.TableRow, 0, len(l.objects))}
	if l.single {
		t.ResourceVersion = l.objects[0].GetResourceVersion()
	}
	for _, c := range columns {
		d := metav1.TableColumnDefinition{Name: c.Name, Type: c.Type, Format: c.Format, Description: c.Help, Priority: c.Priority}
		if !f.bare {
			t.ColumnDefinitions = append(t.ColumnDefinitions, d)
		}
	}
	rows := rows{f, i, columns}
	for _, o := range l.objects {
		inner, err := rows.inner(o)
		if err != nil {
			return nil, apierrors.NewInternalError(err)
		}
		t.Rows = append(t.Rows, metav1.TableRow{Cells: rows.cells(o), Conditions: i.Conditions(o), Object: runtime.RawExtension{Raw: inner}})
	}
	return t, nil
}

// rows makes the rows of a table, one by one.
type rows struct {
	form    form
	info    *api.Info
	columns []api.Column[api.Object]
}

func (t rows) cells(o api.Object) []any {
	cells := make([]any, len(t.columns))
	for n, c := range t.columns {
		cells[n] = c.Show(o)
	}
	return cells
}

// inner is what a row has of its object, as JSON; nil: nothing.
func (t rows) inner(o api.Object) ([]byte, error) {
	switch t.form.include {
	case "", "Metadata":
		return json.Marshal(t.form.partial(o))
	case "Object":
		return api.EncodeJSON(t.info, o)
	}
	return nil, nil
}

func (t rows) object(dst []byte, o api.Object) ([]byte, error) {
	inner, err := t.inner(o)
	if err != nil {
		return dst, err
	}
	return t.row(dst, o, func(dst []byte) ([]byte, error) { return append(dst, inner...), nil })
}

// item shows what memory holds; the row's object does not come from the typed one.
func (t rows) item(dst []byte, i *watch.Item) ([]byte, error) {
	o, err := i.Lean()
	if err != nil {
		return dst, err
	}
	return t.row(dst, o, func(dst []byte) ([]byte, error) {
		switch t.form.include {
		case "", "Metadata":
			return t.form.appendPartial(dst, i)
		case "Object":
			return i.AppendJSON(dst)
		}
		return dst, nil
	})
}

func (t rows) row(dst []byte, o api.Object, inner func([]byte) ([]byte, error)) ([]byte, error) {
	dst = append(dst, `{"cells":[`...)
	var err error
	for n, c := range t.columns {
		if n > 0 {
			dst = append(dst, ',')
		}
		if dst, err = appendCell(dst, c.Show(o)); err != nil {
			return dst, err
		}
	}
	dst = append(dst, ']')
	if conditions := t.info.Conditions(o); len(conditions) > 0 {
		text, err := json.Marshal(conditions)
		if err != nil {
			return dst, err
		}
		dst = append(append(dst, `,"conditions":`...), text...)
	}
	dst = append(dst, `,"object":`...)
	at := len(dst)
	if dst, err = inner(dst); err != nil {
		return dst, err
	}
	if len(dst) == at {
		dst = append(dst, "null"...)
	}
	return append(dst, '}'), nil
}

// appendCell appends a cell as JSON.
func appendCell(dst []byte, cell any) ([]byte, error) {
	switch v := cell.(type) {
	case string:
		return api.AppendString(dst, v), nil
	case int:
		return strconv.AppendInt(dst, int64(v), 10), nil
	case int32:
		return strconv.AppendInt(dst, int64(v), 10), nil
	case int64:
		return strconv.AppendInt(dst, v, 10), nil
	}
	data, err := json.Marshal(cell)
	return append(dst, data...), err
}
