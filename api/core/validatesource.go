package core

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// sources counts the sources of a volume: the first one is looked at, each further one is a mistake.
type sources struct {
	path *field.Path
	n    int
	errs field.ErrorList
}

// first tells whether a source that is there is the volume's first.
func (s *sources) first(there bool, name string) bool {
	if !there {
		return false
	}
	if s.n++; s.n > 1 {
		s.errs = append(s.errs, field.Forbidden(s.path.Child(name), "may not specify more than 1 volume type"))
	}
	return s.n == 1
}

func (s *sources) add(errs field.ErrorList) { s.errs = append(s.errs, errs...) }

// need complains of a field without a value.
func (s *sources) need(value string, at ...string) {
	if value == "" {
		s.errs = append(s.errs, field.Required(s.path.Child(at[0], at[1:]...), ""))
	}
}

// validateSource checks that a volume of a pod has one source and that it says what it must.
// The order is that of the complaints; "cephFS" and "downwarAPI" are how upstream names these two.
func validateSource(v *corev1.VolumeSource, path *field.Path) field.ErrorList {
	s := &sources{path: path}
	if s.first(v.EmptyDir != nil, "emptyDir") {
		if l := v.EmptyDir.SizeLimit; l != nil && l.Sign() < 0 {
			s.errs = append(s.errs, field.Forbidden(path.Child("emptyDir", "sizeLimit"), "SizeLimit field must be a valid resource quantity"))
		}
	}
	if s.first(v.HostPath != nil, "hostPath") {
		s.add(validateHostPath(v.HostPath, path.Child("hostPath")))
	}
	if s.first(v.GitRepo != nil, "gitRepo") {
		s.need(v.GitRepo.Repository, "gitRepo", "repository")
		s.add(localPath(v.GitRepo.Directory, path.Child("gitRepo", "directory")))
	}
	s.gce(v.GCEPersistentDisk)
	s.aws(v.AWSElasticBlockStore)
	if s.first(v.Secret != nil, "secret") {
		s.need(v.Secret.SecretName, "secret", "secretName")
		s.add(fileMode(v.Secret.DefaultMode, true, path.Child("secret", "defaultMode")))
		s.add(validateItems(v.Secret.Items, false, path.Child("secret", "items")))
	}
	if s.first(v.NFS != nil, "nfs") {
		s.add(validateNFS(v.NFS, path.Child("nfs")))
	}
	if s.first(v.ISCSI != nil, "iscsi") {
		i := v.ISCSI
		s.iscsi(iscsi{i.TargetPortal, i.IQN, i.Lun, i.InitiatorName, i.DiscoveryCHAPAuth || i.SessionCHAPAuth, i.SecretRef != nil, "must be valid format starting with iqn, eui, or naa"})
	}
	if s.first(v.Glusterfs != nil, "glusterfs") {
		s.need(v.Glusterfs.EndpointsName, "glusterfs", "endpoints")
		s.need(v.Glusterfs.Path, "glusterfs", "path")
	}
	s.flocker(v.Flocker)
	if s.first(v.PersistentVolumeClaim != nil, "persistentVolumeClaim") {
		s.need(v.PersistentVolumeClaim.ClaimName, "persistentVolumeClaim", "claimName")
	}
	if s.first(v.RBD != nil, "rbd") {
		s.rbd(v.RBD.CephMonitors, v.RBD.RBDImage)
	}
	if s.first(v.Cinder != nil, "cinder") {
		s.need(v.Cinder.VolumeID, "cinder", "volumeID")
		if r := v.Cinder.SecretRef; r != nil {
			s.need(r.Name, "cinder", "secretRef", "name")
		}
	}
	if s.first(v.CephFS != nil, "cephFS") {
		s.cephfs(v.CephFS.Monitors)
	}
	s.quobyte(v.Quobyte)
	if s.first(v.DownwardAPI != nil, "downwarAPI") {
		s.add(fileMode(v.DownwardAPI.DefaultMode, true, path.Child("downwardAPI", "defaultMode")))
		s.add(validateDownward(v.DownwardAPI.Items, false, path.Child("downwardAPI")))
	}
	s.fc(v.FC)
	if s.first(v.FlexVolume != nil, "flexVolume") {
		s.need(v.FlexVolume.Driver, "flexVolume", "driver")
	}
	if s.first(v.ConfigMap != nil, "configMap") {
		s.need(v.ConfigMap.Name, "configMap", "name")
		s.add(fileMode(v.ConfigMap.DefaultMode, true, path.Child("configMap", "defaultMode")))
		s.add(validateItems(v.ConfigMap.Items, false, path.Child("configMap", "items")))
	}
	if s.first(v.AzureFile != nil, "azureFile") {
		s.need(v.AzureFile.SecretName, "azureFile", "secretName")
		s.need(v.AzureFile.ShareName, "azureFile", "shareName")
	}
	s.vsphere(v.VsphereVolume)
	s.photon(v.PhotonPersistentDisk)
	s.portworx(v.PortworxVolume)
	s.azureDisk(v.AzureDisk)
	if s.first(v.StorageOS != nil, "storageos") {
		s.storageOS(v.StorageOS.VolumeName, v.StorageOS.VolumeNamespace)
		if r := v.StorageOS.SecretRef; r != nil {
			s.need(r.Name, "storageos", "secretRef", "name")
		}
	}
	if s.first(v.Projected != nil, "projected") {
		s.add(fileMode(v.Projected.DefaultMode, true, path.Child("projected", "defaultMode")))
		s.add(validateProjected(v.Projected.Sources, path.Child("projected")))
	}
	if s.first(v.ScaleIO != nil, "scaleIO") {
		s.scaleIO(v.ScaleIO.Gateway, v.ScaleIO.System, v.ScaleIO.VolumeName)
	}
	if s.first(v.CSI != nil, "csi") {
		s.add(driverName(v.CSI.Driver, path.Child("csi", "driver")))
		if r := v.CSI.NodePublishSecretRef; r != nil {
			s.need(r.Name, "csi", "nodePublishSecretRef", "name")
		}
	}
	if s.first(v.Ephemeral != nil, "ephemeral") {
		if at := path.Child("ephemeral", "volumeClaimTemplate"); v.Ephemeral.VolumeClaimTemplate == nil {
			s.add(required(at, ""))
		} else {
			s.add(ValidateClaimSpec(&v.Ephemeral.VolumeClaimTemplate.Spec, at.Child("spec")))
		}
	}
	if s.first(v.Image != nil, "image") {
		s.need(v.Image.Reference, "image", "reference")
		if p := v.Image.PullPolicy; p != "" {
			s.add(OneOf(p, path.Child("image", "pullPolicy"), corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever))
		}
	}
	if s.n == 0 {
		return required(path, "must specify a volume type")
	}
	return s.errs
}

// validateVolumeSource checks the one source of a persistent volume.
func validateVolumeSource(v *corev1.PersistentVolumeSpec, path *field.Path) field.ErrorList {
	s := &sources{path: path}
	if s.first(v.HostPath != nil, "hostPath") {
		s.add(validateHostPath(v.HostPath, path.Child("hostPath")))
	}
	s.gce(v.GCEPersistentDisk)
	s.aws(v.AWSElasticBlockStore)
	if s.first(v.Glusterfs != nil, "glusterfs") {
		s.need(v.Glusterfs.EndpointsName, "glusterfs", "endpoints")
		s.need(v.Glusterfs.Path, "glusterfs", "path")
		if n, at := v.Glusterfs.EndpointsNamespace, path.Child("glusterfs", "endpointsNamespace"); n != nil && *n == "" {
			s.errs = append(s.errs, field.Invalid(at, *n, "if the endpointnamespace is set, it must be a valid namespace name"))
		} else if n != nil {
			s.add(dnsLabel(*n, at))
		}
	}
	s.flocker(v.Flocker)
	if s.first(v.NFS != nil, "nfs") {
		s.add(validateNFS(v.NFS, path.Child("nfs")))
	}
	if s.first(v.RBD != nil, "rbd") {
		s.rbd(v.RBD.CephMonitors, v.RBD.RBDImage)
	}
	s.quobyte(v.Quobyte)
	if s.first(v.CephFS != nil, "cephFS") {
		s.cephfs(v.CephFS.Monitors)
	}
	if s.first(v.ISCSI != nil, "iscsi") {
		i := v.ISCSI
		s.iscsi(iscsi{i.TargetPortal, i.IQN, i.Lun, i.InitiatorName, i.DiscoveryCHAPAuth || i.SessionCHAPAuth, i.SecretRef != nil, "must be valid format"})
		if i.SecretRef != nil {
			s.need(i.SecretRef.Name, "iscsi", "secretRef", "name")
		}
	}
	if s.first(v.Cinder != nil, "cinder") {
		s.need(v.Cinder.VolumeID, "cinder", "volumeID")
		if r := v.Cinder.SecretRef; r != nil {
			s.need(r.Name, "cinder", "secretRef", "name")
			s.need(r.Namespace, "cinder", "secretRef", "namespace")
		}
	}
	s.fc(v.FC)
	if s.first(v.FlexVolume != nil, "flexVolume") {
		s.need(v.FlexVolume.Driver, "flexVolume", "driver")
	}
	if s.first(v.AzureFile != nil, "azureFile") {
		s.need(v.AzureFile.SecretName, "azureFile", "secretName")
		s.need(v.AzureFile.ShareName, "azureFile", "shareName")
		if n := v.AzureFile.SecretNamespace; n != nil {
			s.need(*n, "azureFile", "secretNamespace")
		}
	}
	s.vsphere(v.VsphereVolume)
	s.photon(v.PhotonPersistentDisk)
	s.portworx(v.PortworxVolume)
	s.azureDisk(v.AzureDisk)
	if s.first(v.ScaleIO != nil, "scaleIO") {
		s.scaleIO(v.ScaleIO.Gateway, v.ScaleIO.System, v.ScaleIO.VolumeName)
	}
	if s.first(v.Local != nil, "local") {
		s.need(v.Local.Path, "local", "path")
		s.add(noDots(v.Local.Path, path.Child("local", "path")))
		if v.NodeAffinity == nil {
			s.errs = append(s.errs, field.Required(path.Child("nodeAffinity"), "Local volume requires node affinity"))
		}
	}
	if s.first(v.StorageOS != nil, "storageos") {
		s.storageOS(v.StorageOS.VolumeName, v.StorageOS.VolumeNamespace)
		if r := v.StorageOS.SecretRef; r != nil {
			s.need(r.Name, "storageos", "secretRef", "name")
			s.need(r.Namespace, "storageos", "secretRef", "namespace")
		}
	}
	if s.first(v.CSI != nil, "csi") {
		s.csi(v.CSI)
	}
	if s.n == 0 {
		s.errs = append(s.errs, field.Required(path, "must specify a volume type"))
	}
	if v.HostPath != nil && v.HostPath.Path == "/" && v.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimRecycle {
		s.errs = append(s.errs, field.Forbidden(path.Child("persistentVolumeReclaimPolicy"), "may not be 'recycle' for a hostPath mount of '/'"))
	}
	return s.errs
}
