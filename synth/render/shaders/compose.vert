// A grid over the image, as far away as the ground it shows; the light that arrives there varies slowly enough to
// be found at the grid's corners.
uniform vec2 image_size;
#ifdef LIT
uniform float mirror;                 // -1: the pattern is mirrored
uniform float roughness;

out vec2 pattern_at;
out vec2 shade_at;
out vec2 occlusion_at;
noperspective out vec2 key_light;     // diffuse, specular
noperspective out vec3 other_diffuse; // of all other lights; without SHADOW, of that too
noperspective out vec3 other_specular;

vec2 ground(vec3 v, vec3 l) {
    vec3 r = response(vec3(0.0, 0.0, 1.0), v, l, roughness);
    float F = DIELECTRIC + (1.0 - DIELECTRIC) * r.z;
    return vec2((1.0 - DIELECTRIC) * (1.0 - F) * r.x, F * r.y);
}
#endif

void main() {
    vec2 share = vec2(gl_VertexID % (COLUMNS + 1), gl_VertexID / (COLUMNS + 1)) / vec2(COLUMNS, ROWS);
    gl_Position = vec4(2.0 * share - 1.0, 0.0, 1.0);
#ifdef LIT
    vec3 ray = (ray_from_pixel * vec4(share * image_size, 1.0, 0.0)).xyz;
    float reach = wall_distance * inversesqrt(dot(ray, ray));
    float depth = min(reach, -eye.z / min(ray.z, -1e-9));
    vec3 position = eye + ray * depth;
    gl_Position *= depth;
    pattern_at = vec2(mirror * position.x, -position.y - position.z) / tile;
    shade_at = (shadow_from_world * vec4(position, 1.0)).xy;
    occlusion_at = in_occlusion(position.xy);
    vec3 v = normalize(eye - position);
    key_light = ground(v, key_direction);
    other_diffuse = surrounding(vec3(0.0, 0.0, 1.0));
    vec2 weight = reflectance(v.z, roughness);
    other_specular = (DIELECTRIC * weight.x + weight.y) * reflected(vec3(-v.xy, v.z), roughness);
    for (int i = 0; i < FILLS; i++) {
        vec3 towards = fill_position[i].xyz - position;
        vec2 light = ground(v, normalize(towards));
        other_diffuse += light.x * fill_radiance[i].rgb / dot(towards, towards);
        other_specular += light.y * fill_radiance[i].rgb / dot(towards, towards);
    }
#ifndef SHADOW
    other_diffuse += key_light.x * key_radiance;
    other_specular += key_light.y * key_radiance;
#endif
#endif
}
