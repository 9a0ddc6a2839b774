// What all passes of one image share. World frame, metres, linear RGB.
layout(std140) uniform Frame {
    mat4 shadow_from_world;
    mat4 ray_from_pixel;     // (x, y, 1, 0) of a pixel to its viewing ray, of depth 1
    vec3 eye;
    float ambient;
    vec3 key_direction;      // towards the light
    float wall_distance;     // where the ground ends
    vec3 key_radiance;
    float tile;              // size of the ground's pattern
    vec4 fill_position[FILLS];
    vec4 fill_radiance[FILLS];
};

const float PI = 3.141592653589793;
const float DIELECTRIC = 0.04;

// A surface's answer to light from l, seen from v. x: diffuse weight; y: specular weight (GGX, Smith), to be
// multiplied with Fresnel's term; z: that term's way from its value at normal incidence to 1 (Schlick).
vec3 response(vec3 n, vec3 v, vec3 l, float roughness) {
    vec3 h = normalize(l + v);
    float nl = clamp(dot(n, l), 0.001, 1.0);
    float nv = clamp(abs(dot(n, v)), 0.001, 1.0);
    float nh = clamp(dot(n, h), 0.0, 1.0);
    float away = 1.0 - clamp(dot(v, h), 0.0, 1.0);
    float a2 = roughness * roughness * roughness * roughness;
    float k = (roughness + 1.0) * (roughness + 1.0) / 8.0;
    float G = nv * nl / ((nv * (1.0 - k) + k) * (nl * (1.0 - k) + k));
    float spread = nh * nh * (a2 - 1.0) + 1.0;
    float D = a2 / (PI * spread * spread);
    return vec3(nl / PI, nl * G * D / (4.0 * nl * nv + 0.001), away * away * away * away * away);
}
