/* plugin/csi_methods: every method that the driver answers, once: X(service, name). Those of CSI that are not here are UNIMPLEMENTED. */
#ifndef VARVE_PLUGIN_CSI_METHODS_H
#define VARVE_PLUGIN_CSI_METHODS_H

#include "plugin/csi.h"
#include "plugin/files.pb-c.h"
#include "plugin/registration.pb-c.h"

#define CSI_METHODS(X)                                                                                       \
    X("csi.v1.Identity", GetPluginInfo)                                                                      \
    X("csi.v1.Identity", GetPluginCapabilities)                                                              \
    X("csi.v1.Identity", Probe)                                                                              \
    X("csi.v1.Controller", CreateVolume)                                                                     \
    X("csi.v1.Controller", DeleteVolume)                                                                     \
    X("csi.v1.Controller", ControllerPublishVolume)                                                          \
    X("csi.v1.Controller", ControllerUnpublishVolume)                                                        \
    X("csi.v1.Controller", ValidateVolumeCapabilities)                                                       \
    X("csi.v1.Controller", ListVolumes)                                                                      \
    X("csi.v1.Controller", GetCapacity)                                                                      \
    X("csi.v1.Controller", ControllerGetCapabilities)                                                        \
    X("csi.v1.Controller", CreateSnapshot)                                                                   \
    X("csi.v1.Controller", DeleteSnapshot)                                                                   \
    X("csi.v1.Controller", ListSnapshots)                                                                    \
    X("csi.v1.Controller", GetSnapshot)                                                                      \
    X("csi.v1.Controller", ControllerExpandVolume)                                                           \
    X("csi.v1.Controller", ControllerGetVolume)                                                              \
    X("csi.v1.Controller", ControllerModifyVolume)                                                           \
    X("csi.v1.Controller", ControllerGetVolumeHealth)                                                        \
    X("csi.v1.Controller", ControllerListVolumeHealth)                                                       \
    X("csi.v1.GroupController", GroupControllerGetCapabilities)                                              \
    X("csi.v1.GroupController", CreateVolumeGroupSnapshot)                                                   \
    X("csi.v1.GroupController", DeleteVolumeGroupSnapshot)                                                   \
    X("csi.v1.GroupController", GetVolumeGroupSnapshot)                                                      \
    X("csi.v1.Node", NodeStageVolume)                                                                        \
    X("csi.v1.Node", NodeUnstageVolume)                                                                      \
    X("csi.v1.Node", NodePublishVolume)                                                                      \
    X("csi.v1.Node", NodeUnpublishVolume)                                                                    \
    X("csi.v1.Node", NodeGetVolumeStats)                                                                     \
    X("csi.v1.Node", NodeExpandVolume)                                                                       \
    X("csi.v1.Node", NodeGetCapabilities)                                                                    \
    X("csi.v1.Node", NodeGetInfo)                                                                            \
    X("csi.v1.Node", NodeGetVolumeHealth)                                                                    \
    X("csi.v1.Node", NodeGetStorageHealth)                                                                   \
    X("pluginregistration.Registration", GetInfo)                                                            \
    X("pluginregistration.Registration", NotifyRegistrationStatus)

/* These send any number of answers: each fills in a, sends it by csi_send, and fills it in anew. */
#define CSI_STREAMS(X)                                                                                       \
    X("csi.v1.SnapshotMetadata", GetMetadataAllocated)                                                       \
    X("csi.v1.SnapshotMetadata", GetMetadataDelta)                                                           \
    X("varve.csi.v1.FileMetadata", GetChangedFiles)

/* Each fills in a, which is empty, for q: 0, or what csi_fail gave. */
#define CSI_METHOD(name)                                                                                     \
    int csi_##name(struct csi_call *k, const Csi__V1__##name##Request *q, Csi__V1__##name##Response *a)
CSI_METHOD(GetPluginInfo);
CSI_METHOD(GetPluginCapabilities);
CSI_METHOD(Probe);
CSI_METHOD(CreateVolume);
CSI_METHOD(DeleteVolume);
CSI_METHOD(ControllerPublishVolume);
CSI_METHOD(ControllerUnpublishVolume);
CSI_METHOD(ValidateVolumeCapabilities);
CSI_METHOD(ListVolumes);
CSI_METHOD(GetCapacity);
CSI_METHOD(ControllerGetCapabilities);
CSI_METHOD(CreateSnapshot);
CSI_METHOD(DeleteSnapshot);
CSI_METHOD(ListSnapshots);
CSI_METHOD(GetSnapshot);
CSI_METHOD(ControllerExpandVolume);
CSI_METHOD(ControllerGetVolume);
CSI_METHOD(ControllerModifyVolume);
CSI_METHOD(ControllerGetVolumeHealth);
CSI_METHOD(ControllerListVolumeHealth);
CSI_METHOD(GroupControllerGetCapabilities);
CSI_METHOD(CreateVolumeGroupSnapshot);
CSI_METHOD(DeleteVolumeGroupSnapshot);
CSI_METHOD(GetVolumeGroupSnapshot);
CSI_METHOD(NodeStageVolume);
CSI_METHOD(NodeUnstageVolume);
CSI_METHOD(NodePublishVolume);
CSI_METHOD(NodeUnpublishVolume);
CSI_METHOD(NodeGetVolumeStats);
CSI_METHOD(NodeExpandVolume);
CSI_METHOD(NodeGetCapabilities);
CSI_METHOD(NodeGetInfo);
CSI_METHOD(NodeGetVolumeHealth);
CSI_METHOD(NodeGetStorageHealth);
CSI_METHOD(GetMetadataAllocated);
CSI_METHOD(GetMetadataDelta);
int csi_GetChangedFiles(struct csi_call *k, const Varve__Csi__V1__GetChangedFilesRequest *q,
                        Varve__Csi__V1__GetChangedFilesResponse *a);
int csi_GetInfo(struct csi_call *k, const Pluginregistration__InfoRequest *q,
                Pluginregistration__PluginInfo *a);
int csi_NotifyRegistrationStatus(struct csi_call *k, const Pluginregistration__RegistrationStatus *q,
                                 Pluginregistration__RegistrationStatusResponse *a);

#endif
