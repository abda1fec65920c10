package controllertest

import (
	"math"
	"math/rand/v2"
	"reflect"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Odd fills what the pointer points to with values that no API server should have accepted: missing and
// negative and huge ones, words where numbers belong. What is named in keep, such as "Selector", is left as it is.
func Odd[T any](r *rand.Rand, to *T, keep ...string) *T {
	kept := map[string]bool{}
	for _, k := range keep {
		kept[k] = true
	}
	odd(r, reflect.ValueOf(to).Elem(), kept, 0)
	return to
}

var words = []string{"", "a", "-1", "25%", "200%", "Never", "Running", "Failed", "Succeeded", "True", "False", "Recreate", "Parallel", "OnDelete", "Indexed",
	"Complete", "SuccessCriteriaMet", "FailureTarget", "Ready", "Available", "Progressing", "0-5", "3,1,9999999999", "* * * * *", "TZ=", "@every 0s", "UTC", "x/y=z\x00"}

func odd(r *rand.Rand, v reflect.Value, kept map[string]bool, depth int) {
	switch x := v.Addr().Interface().(type) {
	case *v1.Time:
		if *x = v1.NewTime(Start.Add(time.Duration(r.IntN(2e9)-1e9) * time.Second)); r.IntN(4) == 0 {
			*x = v1.Time{}
		}
		return
	case *intstr.IntOrString:
		*x = intstr.FromInt32(int32(number(r)))
		if r.IntN(2) == 0 {
			*x = intstr.FromString(words[r.IntN(len(words))])
		}
		return
	case *resource.Quantity, *v1.FieldsV1:
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(r.IntN(2) == 0)
	case reflect.String:
		v.SetString(words[r.IntN(len(words))])
	case reflect.Int32, reflect.Int64, reflect.Int:
		v.SetInt(number(r))
		if v.Kind() == reflect.Int32 {
			v.SetInt(int64(int32(number(r))))
		}
	case reflect.Pointer:
		v.SetZero()
		if r.IntN(3) > 0 && depth < 12 {
			v.Set(reflect.New(v.Type().Elem()))
			odd(r, v.Elem(), kept, depth+1)
		}
	case reflect.Slice:
		v.SetZero()
		if n := r.IntN(3); depth < 12 {
			v.Set(reflect.MakeSlice(v.Type(), n, n))
			for i := range n {
				odd(r, v.Index(i), kept, depth+1)
			}
		}
	case reflect.Map:
		v.SetZero()
		if t := v.Type(); r.IntN(2) == 0 && t.Key().Kind() == reflect.String && t.Elem().Kind() == reflect.String {
			v.Set(reflect.MakeMap(t))
			for range r.IntN(3) {
				key, value := reflect.New(t.Key()).Elem(), reflect.New(t.Elem()).Elem()
				odd(r, key, kept, depth+1)
				odd(r, value, kept, depth+1)
				v.SetMapIndex(key, value)
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() && !kept[f.Name] {
				odd(r, v.Field(i), kept, depth+1)
			}
		}
	}
}

func number(r *rand.Rand) int64 {
	return []int64{0, 1, 2, 3, 7, -1, 100, math.MaxInt32, math.MinInt32}[r.IntN(9)]
}
