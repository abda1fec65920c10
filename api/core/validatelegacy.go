package core

import (
	"net"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// What the volume sources of storage systems must say, in pods and in persistent volumes alike.
// Source: the comments of their types in k8s.io/api/core/v1.

func (s *sources) invalid(value any, why string, at ...string) {
	s.errs = append(s.errs, field.Invalid(s.path.Child(at[0], at[1:]...), value, why))
}

func (s *sources) partition(n int32, at string) {
	if n < 0 || n > 255 {
		s.invalid(n, validation.InclusiveRangeError(1, 255), at, "partition")
	}
}

func (s *sources) gce(v *corev1.GCEPersistentDiskVolumeSource) {
	if s.first(v != nil, "gcePersistentDisk") {
		s.need(v.PDName, "persistentDisk", "pdName")
		s.partition(v.Partition, "persistentDisk")
	}
}

func (s *sources) aws(v *corev1.AWSElasticBlockStoreVolumeSource) {
	if s.first(v != nil, "awsElasticBlockStore") {
		s.need(v.VolumeID, "awsElasticBlockStore", "volumeID")
		s.partition(v.Partition, "awsElasticBlockStore")
	}
}

func (s *sources) flocker(v *corev1.FlockerVolumeSource) {
	if !s.first(v != nil, "flocker") {
		return
	}
	switch at := s.path.Child("flocker"); {
	case v.DatasetName == "" && v.DatasetUUID == "":
		s.add(required(at, "one of datasetName and datasetUUID is required"))
	case v.DatasetName != "" && v.DatasetUUID != "":
		s.invalid("resource", "datasetName and datasetUUID can not be specified simultaneously", "flocker")
	}
	if strings.Contains(v.DatasetName, "/") {
		s.invalid(v.DatasetName, "must not contain '/'", "flocker", "datasetName")
	}
}

func (s *sources) rbd(monitors []string, image string) {
	if len(monitors) == 0 {
		s.need("", "rbd", "monitors")
	}
	s.need(image, "rbd", "image")
}

func (s *sources) cephfs(monitors []string) {
	if len(monitors) == 0 {
		s.need("", "cephfs", "monitors")
	}
}

func (s *sources) quobyte(v *corev1.QuobyteVolumeSource) {
	if !s.first(v != nil, "quobyte") {
		return
	}
	const why = "must be a host:port pair or multiple pairs separated by commas"
	if at := s.path.Child("quobyte", "registry"); v.Registry == "" {
		s.add(required(at, why))
	} else {
		for pair := range strings.SplitSeq(v.Registry, ",") {
			if _, _, err := net.SplitHostPort(pair); err != nil {
				s.invalid(v.Registry, why, "quobyte", "registry")
			}
		}
	}
	s.need(v.Volume, "quobyte", "volume")
}

func (s *sources) fc(v *corev1.FCVolumeSource) {
	if !s.first(v != nil, "fc") {
		return
	}
	at := s.path.Child("fc")
	switch {
	case len(v.TargetWWNs) == 0 && len(v.WWIDs) == 0:
		s.add(required(at.Child("targetWWNs"), "must specify either targetWWNs or wwids, but not both"))
	case len(v.TargetWWNs) > 0 && len(v.WWIDs) > 0:
		s.invalid(v.TargetWWNs, "targetWWNs and wwids can not be specified simultaneously", "fc", "targetWWNs")
	case len(v.TargetWWNs) > 0 && v.Lun == nil:
		s.add(required(at.Child("lun"), "lun is required if targetWWNs is specified"))
	case len(v.TargetWWNs) > 0 && (*v.Lun < 0 || *v.Lun > 255):
		s.invalid(v.Lun, validation.InclusiveRangeError(0, 255), "fc", "lun")
	}
}

func (s *sources) vsphere(v *corev1.VsphereVirtualDiskVolumeSource) {
	if s.first(v != nil, "vsphereVolume") {
		s.need(v.VolumePath, "vsphereVolume", "volumePath")
	}
}

func (s *sources) photon(v *corev1.PhotonPersistentDiskVolumeSource) {
	if s.first(v != nil, "photonPersistentDisk") {
		s.need(v.PdID, "photonPersistentDisk", "pdID")
	}
}

func (s *sources) portworx(v *corev1.PortworxVolumeSource) {
	if s.first(v != nil, "portworxVolume") {
		s.need(v.VolumeID, "portworxVolume", "volumeID")
	}
}

func (s *sources) scaleIO(gateway, system, volume string) {
	s.need(gateway, "scaleIO", "gateway")
	s.need(system, "scaleIO", "system")
	s.need(volume, "scaleIO", "volumeName")
}

func (s *sources) storageOS(volume, namespace string) {
	s.add(needDNSLabel(volume, s.path.Child("storageos", "volumeName")))
	if namespace != "" {
		s.add(dnsLabel(namespace, s.path.Child("storageos", "volumeNamespace")))
	}
}

func (s *sources) azureDisk(v *corev1.AzureDiskVolumeSource) {
	if !s.first(v != nil, "azureDisk") {
		return
	}
	s.need(v.DiskName, "azureDisk", "diskName")
	s.need(v.DataDiskURI, "azureDisk", "diskURI")
	at := s.path.Child("azureDisk")
	if v.CachingMode != nil {
		s.add(OneOf(*v.CachingMode, at.Child("cachingMode"), corev1.AzureDataDiskCachingNone, corev1.AzureDataDiskCachingReadOnly, corev1.AzureDataDiskCachingReadWrite))
	}
	begin, form := "https://", "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd"
	if v.Kind != nil {
		s.add(OneOf(*v.Kind, at.Child("kind"), corev1.AzureDedicatedBlobDisk, corev1.AzureManagedDisk, corev1.AzureSharedBlobDisk))
		if *v.Kind == corev1.AzureManagedDisk {
			begin, form = "/subscriptions", "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}"
		}
	}
	if !strings.HasPrefix(v.DataDiskURI, begin) {
		s.errs = append(s.errs, field.NotSupported(at.Child("diskURI"), v.DataDiskURI, []string{form}))
	}
}

// iscsi is what the two types of iSCSI sources share.
type iscsi struct {
	portal, iqn string
	lun         int32
	initiator   *string
	chap        bool
	secret      bool
	why         string
}

// Names of iSCSI nodes. Source: RFC 3720, 3.2.6.3, and RFC 3980.
var iscsiName = regexp.MustCompile(`^(iqn\.\d{4}-\d{2}\.[A-Za-z0-9.-]+(:[^,;*&$|\s]+)?|eui\.[0-9A-Fa-f]{16}|naa\.[0-9A-Fa-f]{16}([0-9A-Fa-f]{16})?)$`)

func (s *sources) iscsi(v iscsi) {
	s.need(v.portal, "iscsi", "targetPortal")
	name := func(value, at string) {
		kind, _, _ := strings.Cut(value, ".")
		switch {
		case kind != "iqn" && kind != "eui" && kind != "naa":
			s.invalid(value, v.why, "iscsi", at)
		case !iscsiName.MatchString(value):
			s.invalid(value, "must be valid format", "iscsi", at)
		}
	}
	if v.iqn == "" {
		s.need("", "iscsi", "iqn")
	} else {
		name(v.iqn, "iqn")
	}
	if v.lun < 0 || v.lun > 255 {
		s.invalid(v.lun, validation.InclusiveRangeError(0, 255), "iscsi", "lun")
	}
	if v.chap && !v.secret {
		s.need("", "iscsi", "secretRef")
	}
	if v.initiator != nil {
		name(*v.initiator, "initiatorname")
	}
}

// csi is a persistent volume of a CSI driver.
func (s *sources) csi(v *corev1.CSIPersistentVolumeSource) {
	at := s.path.Child("csi")
	s.add(driverName(v.Driver, at.Child("driver")))
	s.need(v.VolumeHandle, "csi", "volumeHandle")
	for _, r := range []struct {
		to   *corev1.SecretReference
		name string
	}{{v.ControllerPublishSecretRef, "controllerPublishSecretRef"}, {v.ControllerExpandSecretRef, "controllerExpandSecretRef"},
		{v.NodePublishSecretRef, "nodePublishSecretRef"}, {v.NodeExpandSecretRef, "nodeExpandSecretRef"}} {
		if r.to == nil {
			continue
		}
		if in := at.Child(r.name, "name"); r.to.Name == "" {
			s.add(required(in, ""))
		} else {
			s.add(each(in, r.to.Name, validation.IsDNS1123Subdomain(r.to.Name)))
		}
		s.add(needDNSLabel(r.to.Namespace, at.Child(r.name, "namespace")))
	}
}
