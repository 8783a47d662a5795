/* Creates a compute pipeline from a SPIR-V file on the first Vulkan device. What its driver says of it goes to stderr, where its debug variables ask
 * for that.
 *
 *     compile FILE ENTRY_POINT
 */
#include <stdio.h>
#include <stdlib.h>
#include <vulkan/vulkan.h>

#define TRY(call)                                                                                                                                    \
    do {                                                                                                                                             \
        VkResult result_ = (call);                                                                                                                   \
        if (result_ != VK_SUCCESS) {                                                                                                                 \
            fprintf(stderr, "%s: %d\n", #call, result_);                                                                                             \
            exit(1);                                                                                                                                 \
        }                                                                                                                                            \
    } while (0)

/* Of common.wgsl: a uniform buffer, then storage buffers. */
enum { BINDINGS = 7 };

static VkDevice open_device(void) {
    VkApplicationInfo app = {.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO, .apiVersion = VK_API_VERSION_1_2};
    VkInstanceCreateInfo instance_info = {.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO, .pApplicationInfo = &app};
    VkInstance instance;
    TRY(vkCreateInstance(&instance_info, NULL, &instance));
    VkPhysicalDevice physical;
    uint32_t count = 1;
    VkResult found = vkEnumeratePhysicalDevices(instance, &count, &physical);
    if (count == 0 || (found != VK_SUCCESS && found != VK_INCOMPLETE)) {
        fprintf(stderr, "no Vulkan device\n");
        exit(1);
    }
    VkPhysicalDeviceProperties properties;
    vkGetPhysicalDeviceProperties(physical, &properties);
    printf("%s\n", properties.deviceName);

    /* As wgpu opens it: without this the shaders would check bounds. */
    VkPhysicalDeviceRobustness2FeaturesEXT robustness = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_ROBUSTNESS_2_FEATURES_EXT,
                                                         .robustBufferAccess2 = VK_TRUE};
    VkPhysicalDeviceFeatures2 features = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2,
                                          .pNext = &robustness,
                                          .features.robustBufferAccess = VK_TRUE};
    const char *extension = VK_EXT_ROBUSTNESS_2_EXTENSION_NAME;
    float priority = 1.0f;
    VkDeviceQueueCreateInfo queue = {.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO, .queueCount = 1, .pQueuePriorities = &priority};
    VkDeviceCreateInfo device_info = {.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
                                      .pNext = &features,
                                      .queueCreateInfoCount = 1,
                                      .pQueueCreateInfos = &queue,
                                      .enabledExtensionCount = 1,
                                      .ppEnabledExtensionNames = &extension};
    VkDevice device;
    TRY(vkCreateDevice(physical, &device_info, NULL, &device));
    return device;
}

static VkShaderModule load_module(VkDevice device, const char *path) {
    static uint32_t words[1 << 18];
    FILE *file = fopen(path, "rb");
    size_t size = file ? fread(words, 1, sizeof words, file) : 0;
    if (size == 0 || size == sizeof words) {
        fprintf(stderr, "%s: cannot be read\n", path);
        exit(1);
    }
    fclose(file);
    VkShaderModuleCreateInfo info = {.sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO, .codeSize = size, .pCode = words};
    VkShaderModule module;
    TRY(vkCreateShaderModule(device, &info, NULL, &module));
    return module;
}

static VkPipelineLayout make_layout(VkDevice device) {
    VkDescriptorSetLayoutBinding bindings[BINDINGS];
    for (uint32_t i = 0; i < BINDINGS; i++) {
        VkDescriptorType type = i == 0 ? VK_DESCRIPTOR_TYPE_UNIFORM_BUFFER : VK_DESCRIPTOR_TYPE_STORAGE_BUFFER;
        bindings[i] = (VkDescriptorSetLayoutBinding){
            .binding = i, .descriptorType = type, .descriptorCount = 1, .stageFlags = VK_SHADER_STAGE_COMPUTE_BIT};
    }
    VkDescriptorSetLayoutCreateInfo set_info = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO, .bindingCount = BINDINGS, .pBindings = bindings};
    VkDescriptorSetLayout set;
    TRY(vkCreateDescriptorSetLayout(device, &set_info, NULL, &set));
    VkPipelineLayoutCreateInfo info = {.sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO, .setLayoutCount = 1, .pSetLayouts = &set};
    VkPipelineLayout layout;
    TRY(vkCreatePipelineLayout(device, &info, NULL, &layout));
    return layout;
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: compile FILE ENTRY_POINT\n");
        return 2;
    }
    VkDevice device = open_device();
    VkComputePipelineCreateInfo info = {.sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
                                        .stage = {.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
                                                  .stage = VK_SHADER_STAGE_COMPUTE_BIT,
                                                  .module = load_module(device, argv[1]),
                                                  .pName = argv[2]},
                                        .layout = make_layout(device)};
    VkPipeline pipeline;
    TRY(vkCreateComputePipelines(device, VK_NULL_HANDLE, 1, &info, NULL, &pipeline));
    return 0;
}
